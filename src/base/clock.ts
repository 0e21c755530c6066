/** Time, injected everywhere, so that tests can own it. */
export interface Clock {
  /** Milliseconds since boot, suspend included (CLOCK_BOOTTIME): for deadlines. Never steps back. */
  boottime(): number;
  /** Milliseconds since 1970 (CLOCK_REALTIME): for people and records only. */
  wall(): number;
}
