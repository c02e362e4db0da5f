/** The JSON of an attestation result (SPEC 4.2): what the authority says of a proof without naming hosts. */
import { policyError } from '../appraisal/policy-error.ts';
import { readJson } from '../appraisal/policy-json.ts';
import { policyForms } from '../appraisal/policy-text.ts';
import { isAttribute } from '../certificates/attributes.ts';
import type { HostAttributes } from '../certificates/attributes.ts';
import { tpmNameForm } from '../encoding/hex.ts';
import { JsonPlace } from '../encoding/json-place.ts';
import { uuidForm } from '../encoding/uuid.ts';
import { limits } from '../limits.ts';
import type { LifeState } from './life-cycle.ts';

const FORMAT = 'tvmmp-result/1';
const PSEUDONYM = /^[0-9a-f]{32}$/;
const STATE = /^(?:stopped|running|paused|saved|departing|destroyed)$/;
const ANY = /^.*$/s;

/** A run of entries of one epoch under one set of attributes. */
export interface Stay {
  readonly epoch: number;
  /** Pseudonym of the host: 16 bytes, hexadecimal. */
  readonly holder: string;
  readonly attributes: HostAttributes;
  /** Version of the policy at its last entry. */
  readonly policy: number;
  /** Time of its first entry by the clock of the host, in whole seconds. */
  readonly since: Date;
  /** Whether the holder signed that its copy is destroyed. */
  readonly departed: boolean;
  /** Commitment to its last entry, hexadecimal. */
  readonly last: string;
}

/** What a result says. */
export interface ResultDocument {
  readonly vm: string;
  /** TPM name of the vTPM's EK, hexadecimal. */
  readonly vtpm: string | null;
  readonly issuedAt: Date;
  readonly from: 'birth' | 'checkpoint';
  readonly state: LifeState;
  /** Id of the policies. */
  readonly policy: string;
  /** Version of the revocation list that the proof was held against; 0 without one. */
  readonly revocations: number;
  /** SHA-256 of the tenant's key, hexadecimal, and the version of its policy in force. */
  readonly tenant: { readonly key: string; readonly version: number } | null;
  readonly stays: readonly Stay[];
}

/** Reads the payload of a result; it must be the one text that `formatResult` writes. Throws `policy-invalid`. */
export function parseResult(text: string): ResultDocument {
  const document = readJson('the attestation result', text, readDocument);
  if (formatResult(document) !== text)
    throw policyError('not-canonical', 'the attestation result is not written as SPEC 4.2 says');
  return document;
}

/** Compact JSON, members in the order of SPEC 4.2. */
export function formatResult(document: ResultDocument): string {
  const { vm, vtpm, issuedAt, from, state, policy, revocations, tenant, stays } = document;
  return JSON.stringify({
    format: FORMAT,
    vm,
    vtpm,
    issuedAt: issuedAt.toISOString(),
    from,
    state,
    policy,
    revocations,
    tenant: tenant === null ? null : { key: tenant.key, version: tenant.version },
    stays: stays.map((stay) => ({
      epoch: stay.epoch,
      holder: stay.holder,
      attributes: Object.fromEntries(sorted(stay.attributes)),
      policy: stay.policy,
      since: stay.since.toISOString(),
      departed: stay.departed,
      last: stay.last,
    })),
  });
}

function readDocument(place: JsonPlace): ResultDocument {
  const members = place.object([
    'format',
    'vm',
    'vtpm',
    'issuedAt',
    'from',
    'state',
    'policy',
    'revocations',
    'tenant',
    'stays',
  ]);
  members.format.constant(FORMAT);
  const places = members.stays.items(1, limits.proofEntriesMax);
  const stays = places.map(readStay);
  demandOrder(places, stays);
  return {
    vm: members.vm.text(uuidForm),
    vtpm: members.vtpm.value === null ? null : members.vtpm.text(tpmNameForm),
    issuedAt: members.issuedAt.time(),
    from: members.from.value === 'birth' ? 'birth' : (members.from.constant('checkpoint') as 'checkpoint'),
    state: members.state.text(STATE) as LifeState,
    policy: members.policy.text(policyForms.id),
    revocations: members.revocations.integer(0, Number.MAX_SAFE_INTEGER),
    tenant: members.tenant.value === null ? null : readTenant(members.tenant),
    stays,
  };
}

function readTenant(place: JsonPlace): NonNullable<ResultDocument['tenant']> {
  const { key, version } = place.object(['key', 'version']);
  return { key: key.text(policyForms.sha256), version: version.integer(1, Number.MAX_SAFE_INTEGER) };
}

function readStay(place: JsonPlace): Stay {
  const members = place.object(['epoch', 'holder', 'attributes', 'policy', 'since', 'departed', 'last']);
  return {
    epoch: members.epoch.integer(0, Number.MAX_SAFE_INTEGER),
    holder: members.holder.text(PSEUDONYM),
    attributes: readAttributes(members.attributes),
    policy: members.policy.integer(1, Number.MAX_SAFE_INTEGER),
    since: members.since.time(),
    departed: members.departed.boolean(),
    last: members.last.text(policyForms.sha256),
  };
}

/** One holder an epoch, and no epoch left out. */
function demandOrder(places: readonly JsonPlace[], stays: readonly Stay[]): void {
  for (const [index, { epoch, holder }] of stays.entries()) {
    const before = stays[index - 1];
    if (before === undefined) continue;
    const follows = epoch === before.epoch ? holder === before.holder : epoch === before.epoch + 1;
    if (!follows)
      throw (places[index] ?? new JsonPlace(null)).fault(
        'inconsistent',
        'does not follow the stay before it',
      );
  }
}

function readAttributes(place: JsonPlace): HostAttributes {
  return new Map(
    place.names().map((name) => {
      const member = place.at(name);
      const value = typeof member.value === 'number' ? member.value : member.text(ANY);
      if (!isAttribute(name, value)) throw member.fault('wrong-text', 'is no attribute of a host');
      return [name, value];
    }),
  );
}

function sorted(attributes: HostAttributes): readonly (readonly [string, string | number])[] {
  return [...attributes].sort(([a], [b]) => (a < b ? -1 : 1));
}
