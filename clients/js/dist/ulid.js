/**
 * Message ids: ULIDs (26 characters of Crockford's base 32; 48 bits of time, 80 of randomness), increasing within one
 * millisecond, as https://github.com/ulid/spec describes.
 */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const RANDOM_DIGITS = 16;
export class UlidSource {
    now;
    randomBytes;
    #time = -1;
    /** Base-32 digits of the random part, most significant first. */
    #digits = [];
    constructor(now, randomBytes) {
        this.now = now;
        this.randomBytes = randomBytes;
    }
    /** A new id, greater than every earlier one of this source (also when the clock steps back). */
    next() {
        const now = Math.floor(this.now());
        if (now > this.#time) {
            this.#time = now;
            this.#digits = Array.from(this.randomBytes(RANDOM_DIGITS), (byte) => byte & 31);
        }
        else {
            this.#increment();
        }
        return encodeTime(this.#time) + this.#digits.map((digit) => ALPHABET[digit]).join('');
    }
    #increment() {
        for (let at = RANDOM_DIGITS - 1; at >= 0; at--) {
            const digit = this.#digits[at];
            this.#digits[at] = (digit + 1) & 31;
            if (digit < 31)
                return;
        }
        // All 80 bits overflowed: borrow from the next millisecond.
        this.#time += 1;
    }
}
function encodeTime(time) {
    let text = '';
    for (let digit = 0; digit < 10; digit++) {
        text = ALPHABET.charAt(time % 32) + text;
        time = Math.floor(time / 32);
    }
    return text;
}
