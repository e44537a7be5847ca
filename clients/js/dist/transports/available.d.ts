/** Which transports this environment has, ready to open. */
import type { SkywaveOptions } from '../options.js';
import type { TransportTable } from './transport.js';
export declare function availableTransports(options: SkywaveOptions): TransportTable;
