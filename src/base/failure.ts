import type { GivenReason } from './reasons.js';

/**
 * Every way in which a command or an API call can fail: one row a code. Codes, HTTP statuses and exit statuses
 * are an interface that scripts rely on (PRODUCT.md): never reuse or renumber a row.
 */
const table = {
  internal: {
    http: 500,
    exit: 1,
    title: 'Something went wrong inside scopefs',
  },
  io: {
    http: 500,
    exit: 1,
    title: 'The operating system refused',
  },
  no_space: {
    http: 507,
    exit: 1,
    title: 'No space left',
  },
  not_root: {
    http: 403,
    exit: 1,
    title: 'Needs root',
  },
  unsupported_system: {
    http: 501,
    exit: 1,
    title: 'This system cannot run scopefs',
  },
  unsupported_format: {
    http: 501,
    exit: 1,
    title: 'This build cannot read that vault',
  },
  not_a_vault: {
    http: 400,
    exit: 1,
    title: 'Not a vault',
  },
  bad_mount_point: {
    http: 400,
    exit: 1,
    title: 'Cannot mount there',
  },
  usage: {
    http: 400,
    exit: 2,
    title: 'Wrong usage',
  },
  locked: {
    http: 423,
    exit: 3,
    title: 'Locked',
  },
  not_found: {
    http: 404,
    exit: 4,
    title: 'Not found',
  },
  bad_key: {
    http: 401,
    exit: 5,
    title: 'That key does not open this scope',
  },
  input_required: {
    http: 400,
    exit: 5,
    title: 'A secret is required',
  },
  forbidden: {
    http: 403,
    exit: 6,
    title: 'Forbidden',
  },
  busy: {
    http: 409,
    exit: 7,
    title: 'Busy',
  },
  conflict: {
    http: 409,
    exit: 8,
    title: 'Conflict',
  },
  integrity: {
    http: 500,
    exit: 9,
    title: 'Stored data was tampered with or damaged',
  },
  unreachable: {
    http: 503,
    exit: 10,
    title: 'The daemon cannot be reached',
  },
  pending: {
    http: 202,
    exit: 11,
    title: 'More shares are needed',
  },
  throttled: {
    http: 429,
    exit: 12,
    title: 'Too many attempts',
  },
  too_large: {
    http: 413,
    exit: 2,
    title: 'Too large',
  },
} as const satisfies Record<string, { http: number; exit: number; title: string }>;

export type FailureCode = keyof typeof table;

export const failureCodes = Object.keys(table) as readonly FailureCode[];
export function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(table, code);
}

export interface FailureOptions {
  /** Where the code alone does not tell what to do next. The advice is at the top: control/advice.ts. */
  reason?: GivenReason;
  /** Advice that a daemon gave with its answer. */
  hint?: string;
  /** Machine-readable particulars (JSON values). */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** An expected failure. Its identity is `code`; `message` names the thing; `reason` is what advice goes by. */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly reason: GivenReason | undefined;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;
  constructor(code: FailureCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Failure';
    this.code = code;
    this.reason = options.reason;
    this.hint = options.hint;
    this.details = options.details;
  }
  /** The same failure of a thing that its message does not name. */
  of(thing: string): Failure {
    const { code, message, reason, hint, details, cause } = this;
    return new Failure(code, `${thing}: ${message}`, {
      ...(reason === undefined ? {} : { reason }),
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
      cause: cause ?? this,
    });
  }
  get httpStatus(): number {
    return table[this.code].http;
  }
  get exitStatus(): number {
    return table[this.code].exit;
  }
  get title(): string {
    return table[this.code].title;
  }
}
