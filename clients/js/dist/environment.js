/**
 * What the client needs from the world: time, randomness, page lifecycle. Everything else in this library is a
 * function of what comes in through here and through a transport, so a test can run it on virtual time.
 */
/** The browser's or Node's own. */
export function systemEnvironment() {
    return {
        now: () => Date.now(),
        setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
        clearTimeout: (timer) => globalThis.clearTimeout(timer),
        defer: (run) => globalThis.queueMicrotask(run),
        random: () => Math.random(),
        randomBytes: (count) => globalThis.crypto.getRandomValues(new Uint8Array(count)),
        watch: watchPage,
        // Uncaught, like an error in any other listener.
        report: (error) => {
            globalThis.setTimeout(() => {
                throw error;
            });
        },
    };
}
function watchPage(listener) {
    const page = globalThis.document;
    if (page === undefined || typeof globalThis.addEventListener !== 'function')
        return () => { };
    const online = () => listener('online');
    const visible = () => {
        if (page.visibilityState === 'visible')
            listener('visible');
    };
    globalThis.addEventListener('online', online);
    page.addEventListener('visibilitychange', visible);
    return () => {
        globalThis.removeEventListener('online', online);
        page.removeEventListener('visibilitychange', visible);
    };
}
