/** Where positions outlive the page. */
/**
 * Positions in a web storage: `sessionStorage` survives a reload of the tab, `localStorage` is shared by all tabs (a tab
 * then resumes where the last of them stood). A store that refuses costs the resumption, nothing else.
 */
export function storedPositions(store, prefix = 'skywave.position.') {
    return {
        load(channel) {
            try {
                const position = JSON.parse(store.getItem(prefix + channel) ?? 'null');
                if (typeof position?.epoch !== 'string' || !Number.isSafeInteger(position.offset))
                    return undefined;
                return { epoch: position.epoch, offset: position.offset };
            }
            catch {
                return undefined;
            }
        },
        save(channel, position) {
            try {
                store.setItem(prefix + channel, JSON.stringify(position));
            }
            catch {
                // Full or forbidden: the next page load starts without a position.
            }
        },
    };
}
