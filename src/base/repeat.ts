/**
 * Repeats `step` as long as it calls `again`, at once or later. A step that completes at once costs no stack: jobs
 * that run inline would otherwise recurse once an item.
 */
export function repeat(step: (again: () => void) => void): void {
  let running = false;
  let wanted = false;
  const again = (): void => {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      step(again);
    }
    running = false;
  };
  again();
}
