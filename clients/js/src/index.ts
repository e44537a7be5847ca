/** Skywave client for browsers and Node. Start with {@link Skywave}. */

export { Skywave } from './client.js';
export type { ClientEvents, ConnectionInfo, HistoryOptions, HistoryPage, State, StateChange } from './client.js';
export type { GetToken } from './credentials.js';
export type { Environment } from './environment.js';
export { SkywaveError } from './errors.js';
export type { LocalErrorCode } from './errors.js';
export type { Emitter, Unlisten } from './events.js';
export type { Granted, GrantedGap, Withdrawn } from './grants.js';
export type { SkywaveOptions } from './options.js';
export type { OutboxLimits, Published } from './outbox.js';
export { askForRoute } from './places.js';
export type { FindRoute } from './places.js';
export { storedPositions } from './positions.js';
export type { PositionStore } from './positions.js';
export type { GapReason, Member, Position } from './protocol.js';
export type {
  Gap,
  Publication,
  PublishOptions,
  Recovered,
  Subscribed,
  SubscribeOptions,
  Subscription,
  SubscriptionEvents,
  SubscriptionState,
} from './subscription.js';
export type { TextStore } from './transports/negotiate.js';
export type { Transport, TransportEnd, TransportEvents, TransportName } from './transports/transport.js';
export type { WebSocketConstructor, WebSocketLike } from './transports/websocket.js';
export type { FindWebTransport, WebTransportAddress } from './transports/webtransport.js';
