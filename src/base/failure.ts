/**
 * Every way in which a command or an API call can fail: one row a code. Codes, HTTP statuses and exit statuses
 * are an interface that scripts rely on (PRODUCT.md): never reuse or renumber a row.
 */
const table = {
  internal: {
    http: 500,
    exit: 1,
    title: 'Something went wrong inside scopefs',
    hint: "this is a bug: report it with the daemon's log",
  },
  io: {
    http: 500,
    exit: 1,
    title: 'The operating system refused',
    hint: "check the disk and the daemon's log, then try again",
  },
  no_space: {
    http: 507,
    exit: 1,
    title: 'No space left',
    hint: 'make room, then try again: nothing was changed',
  },
  not_root: {
    http: 403,
    exit: 1,
    title: 'Needs root',
    hint: 'run it with sudo',
  },
  unsupported_system: {
    http: 501,
    exit: 1,
    title: 'This system cannot run scopefs',
    hint: 'see README.md, what scopefs needs',
  },
  unsupported_format: {
    http: 501,
    exit: 1,
    title: 'This build cannot read that vault',
    hint: 'use the scopefs that made the vault, or a newer one',
  },
  not_a_vault: {
    http: 400,
    exit: 1,
    title: 'Not a vault',
    hint: 'make one with: scopefs init VAULT',
  },
  bad_mount_point: {
    http: 400,
    exit: 1,
    title: 'Cannot mount there',
    hint: 'name an empty directory outside the vault',
  },
  usage: {
    http: 400,
    exit: 2,
    title: 'Wrong usage',
    hint: 'see: scopefs help',
  },
  locked: {
    http: 423,
    exit: 3,
    title: 'Locked',
    hint: 'unlock it first: scopefs unlock SCOPE --with SRC',
  },
  not_found: {
    http: 404,
    exit: 4,
    title: 'Not found',
    hint: 'list what there is with: scopefs ls',
  },
  bad_key: {
    http: 401,
    exit: 5,
    title: 'That key does not open this scope',
    hint: 'check which key you gave; scopefs slot list shows what kinds there are',
  },
  input_required: {
    http: 400,
    exit: 5,
    title: 'A secret is required',
    hint: 'name a secret with --with SRC; see: scopefs help unlock',
  },
  forbidden: {
    http: 403,
    exit: 6,
    title: 'Forbidden',
    hint: 'run it as the user who mounted the vault, or as root',
  },
  busy: {
    http: 409,
    exit: 7,
    title: 'Busy',
    hint: 'try again in a moment',
  },
  conflict: {
    http: 409,
    exit: 8,
    title: 'Conflict',
    hint: 'look at what is there first: scopefs ls',
  },
  integrity: {
    http: 500,
    exit: 9,
    title: 'Stored data was tampered with or damaged',
    hint: 'restore what is damaged from a backup of vault and store; scopefs audit tail says what was seen',
  },
  unreachable: {
    http: 503,
    exit: 10,
    title: 'The daemon cannot be reached',
    hint: 'is the vault mounted? name its socket with --host unix:///PATH',
  },
  pending: {
    http: 202,
    exit: 11,
    title: 'More shares are needed',
    hint: 'bring another share: scopefs unlock SCOPE --with share:SRC',
  },
  throttled: {
    http: 429,
    exit: 12,
    title: 'Too many attempts',
    hint: 'wait, then try again',
  },
  too_large: {
    http: 413,
    exit: 2,
    title: 'Too large',
    hint: 'a secret has at most 4096 bytes',
  },
} as const satisfies Record<string, { http: number; exit: number; title: string; hint: string }>;

export type FailureCode = keyof typeof table;

export const failureCodes = Object.keys(table) as readonly FailureCode[];
export function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(table, code);
}

export interface FailureOptions {
  /** Advice for the person at the terminal: what to do next. Without it, the code's own. Added at the top tier only. */
  hint?: string;
  /** Machine-readable particulars (JSON values). */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** An expected failure. Its identity is `code`; `message` names the thing; `hint` gives the way out. */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly hint: string;
  readonly details: Record<string, unknown> | undefined;
  constructor(code: FailureCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Failure';
    this.code = code;
    this.hint = options.hint ?? table[code].hint;
    this.details = options.details;
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
