/** Horn clauses of the protocol, for E and SPASS: what holds, what is reached, and what breaks without each defence. */
import type { Check } from '../check.ts';
import { chainCases } from './chain-suite.ts';
import { enrolmentCases } from './enrolment.ts';
import { exchangeCases } from './exchange-suite.ts';
import { checksOf } from './prove.ts';

/** For `npm run formal`. */
export function checks(): Promise<readonly Check[]> {
  return Promise.resolve([...enrolmentCases(), ...exchangeCases(), ...chainCases()].flatMap(checksOf));
}
