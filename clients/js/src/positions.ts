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
export function storedPositions(store: TextStore, prefix = 'skywave.position.'): PositionStore {
  return {
    load(channel) {
      try {
        const position = JSON.parse(store.getItem(prefix + channel) ?? 'null') as Partial<Position> | null;
        if (typeof position?.epoch !== 'string' || !Number.isSafeInteger(position.offset)) return undefined;
        return { epoch: position.epoch, offset: position.offset as number };
      } catch {
        return undefined;
      }
    },
    save(channel, position) {
      try {
        store.setItem(prefix + channel, JSON.stringify(position));
      } catch {
        // Full or forbidden: the next page load starts without a position.
      }
    },
  };
}
