/** Where positions outlive the page. */
import type { Position } from './protocol.js';
import type { TextStore } from './transports/negotiate.js';
/** Keeps the last position of each channel. Called for every batch of publications: it must be fast and must not throw. */
export interface PositionStore {
    load(channel: string): Position | undefined;
    save(channel: string, position: Position): void;
}
/**
 * Positions in a web storage: `sessionStorage` survives a reload of the tab, `localStorage` is shared by all tabs (a tab
 * then resumes where the last of them stood). A store that refuses costs the resumption, nothing else.
 */
export declare function storedPositions(store: TextStore, prefix?: string): PositionStore;
