import { compile } from './compile.mjs';

compile('tsconfig.json', 'dist');
