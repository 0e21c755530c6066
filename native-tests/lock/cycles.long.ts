import { lockCycles } from './cycles.js';

lockCycles(1_000, 600);
