import { pino } from 'pino';
import type { Facts, Log } from '../base/log.js';
import { printableJson } from '../base/printable.js';

/** Priorities of syslog(3), which the journal reads from a line's `<N>` (sd-daemon(3)). */
const priorities: Record<string, number> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 };

/** Where lines go: a descriptor, or in tests a function. */
export interface LogTarget {
  write(line: string): void;
}

/**
 * Lines of JSON, written at once (a process of ours ends by _exit). `journal`: with the priority before each, for
 * systemd's journal. Secrets are redacted by type: Secret and SecretInput become "[secret]" in JSON.
 */
export function openLog(journal: boolean, target: LogTarget = pino.destination({ fd: 2, sync: true })): Log {
  const prefixed: LogTarget = {
    write(line) {
      const level = /^\{"level":"(\w+)"/.exec(line)?.[1] ?? 'info';
      const shown = printableJson(line);
      target.write(journal ? `<${priorities[level] ?? 6}>${shown}` : shown);
    },
  };
  const logger = pino(
    {
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      serializers: { error: pino.stdSerializers.err },
    },
    prefixed,
  );
  const at =
    (level: 'info' | 'warn' | 'error') =>
    (message: string, facts: Facts = {}): void =>
      logger[level](facts, message);
  return { info: at('info'), warn: at('warn'), error: at('error') };
}
