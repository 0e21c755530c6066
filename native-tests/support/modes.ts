import { type Test, test } from 'tap';
import { Rig } from './probe.js';

const modes = { 'write-through': [], writeback: ['--writeback'] } as const;

export type Acts = Record<string, (t: Test, rig: Rig) => Promise<void>>;

/**
 * Runs acts one after another in both I/O modes, those of a mode on one mount (each takes seconds to make), which has
 * a scope /a with a key of its own. An act finds it unlocked and leaves it so.
 */
export function inBothModes(acts: Acts, ...mountOptions: string[]): void {
  for (const [mode, options] of Object.entries(modes)) {
    test(mode, async (t) => {
      const rig = new Rig({ mountOptions: [...options, ...mountOptions] });
      t.teardown(() => rig.remove());
      rig.createScope('/a');
      for (const [name, act] of Object.entries(acts)) {
        await t.test(name, async (t) => {
          await act(t, rig);
          t.same(await rig.leftStuck(), [], 'no task is in uninterruptible sleep');
          t.equal(await rig.state('/a'), 'unlocked');
        });
      }
    });
  }
}
