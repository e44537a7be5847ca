/** The one error type this library throws and rejects with. */
export class SkywaveError extends Error {
    code;
    outcomeUnknown;
    name = 'SkywaveError';
    constructor(
    /** A {@link LocalErrorCode} or an error code of the protocol, e.g. `rate_limited`. */
    code, message, 
    /**
     * For a publish: true when it may have been published all the same, because it was sent and no answer came.
     * Publishing again under the same id is safe.
     */
    outcomeUnknown = false) {
        super(message);
        this.code = code;
        this.outcomeUnknown = outcomeUnknown;
    }
    static fromWire(error) {
        return new SkywaveError(error.code, `${error.code}: ${error.message}`);
    }
}
