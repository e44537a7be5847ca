/** Skywave client for browsers and Node. Start with {@link Skywave}. */
export { Skywave } from './client.js';
export { SkywaveError } from './errors.js';
export { askForRoute } from './places.js';
export { storedPositions } from './positions.js';
