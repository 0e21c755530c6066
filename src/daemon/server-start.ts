import type { FailureCode } from '../base/failure.js';
import type { GivenReason } from '../base/reasons.js';
import type { TransportName } from './options.js';

/** Descriptors that the server inherits. */
export const fd = { device: 3, status: 4, lock: 5 } as const;

export interface ServerArguments {
  readonly vault: string;
  readonly mountPoint: string;
  /** Where it listens; undefined: in the run directory. */
  readonly socket: string | undefined;
  readonly store: string | undefined;
  /** Nothing of the vault is written; `store` is a copy, removed once it is open. */
  readonly readOnly: boolean;
  /** The kernel's writeback cache is asked for. */
  readonly writeback: boolean;
  readonly transport: TransportName;
  /** Its lines go to systemd's journal. */
  readonly journal: boolean;
  /** The server's log, removed at its end; undefined in the foreground. */
  readonly log: string | undefined;
}

/** The one line that the server says about its start. */
export type StartReport =
  | { ok: true; pid: number; socket: string; unclean: boolean }
  | {
      ok: false;
      code: FailureCode;
      message: string;
      reason?: GivenReason | undefined;
    };
