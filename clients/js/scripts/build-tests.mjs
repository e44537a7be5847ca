import { compile } from './compile.mjs';

compile('tsconfig.test.json', '.build');
