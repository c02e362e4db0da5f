/** The type alone, for those who pass a TrustedPeer on: making one is appraise.ts's business. */
export type { TrustedPeer } from './appraise.ts';
