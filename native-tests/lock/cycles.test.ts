import { lockCycles } from './cycles.js';

lockCycles(40, 60);
