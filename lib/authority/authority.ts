/** The authority: a directory with the root key, the policy key and the register (SPEC 1). It is never on the migration path. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { policyError } from '../appraisal/policy-error.ts';
import { parsePolicyText, signPolicy, verifySignedPolicy } from '../appraisal/policy.ts';
import type { Policy, PolicyKeys } from '../appraisal/policy.ts';
import { issuePolicySigner, issueRoot, issueVtpmRootVoucher } from '../certificates/issue.ts';
import type { Issuer, KeyPair, Validity } from '../certificates/issue.ts';
import { certificateFromPem, certificateToPem } from '../certificates/pem.ts';
import { verifyPolicySignerCertificate } from '../certificates/policy-signer-certificate.ts';
import type { PolicySigner } from '../certificates/policy-signer-certificate.ts';
import { parseRootCertificate } from '../certificates/root-certificate.ts';
import type { RootCertificate } from '../certificates/root-certificate.ts';
import { issueVtpmRoot, verifyVtpmRoot } from '../certificates/vtpm-root.ts';
import { hex } from '../encoding/hex.ts';
import { TvmmpError } from '../errors.ts';
import { formatBundle } from './bundle.ts';
import { ensureDirectory, replaceFiles } from './files.ts';
import type { NewFile } from './files.ts';
import { Registry } from './registry.ts';
import type { Enrolment } from './registry.ts';

/** Files of an authority's directory. */
const FILES = {
  root: 'root.pem',
  rootKey: 'root-key.pem',
  policySigner: 'policy-signer.pem',
  policyKey: 'policy-key.pem',
  vtpmRoot: 'vtpm-root.pem',
  vtpmVoucher: 'vtpm-root-voucher.pem',
  vtpmKey: 'vtpm-root-key.pem',
  registry: 'registry.sqlite',
} as const;

/** Years that certificates are good for. */
const ROOT_YEARS = 20;
const POLICY_SIGNER_YEARS = 20;
const HOST_YEARS = 5;
const DAY_MS = 24 * 3600 * 1000;
/** Certificates begin this long ago, for clocks that differ. */
const CLOCK_SKEW_MS = 5 * 60 * 1000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9 ._-]{0,47}$/;

/** How an authority is made. */
export interface AuthorityOptions {
  /** What people call it: common name of its certificates. */
  readonly name: string;
  /** Encrypts the private keys where given. */
  readonly passphrase?: string;
  readonly now?: Date;
}

/** How it is opened; the passphrase is needed only to issue and to sign. */
export interface OpenOptions {
  readonly passphrase?: string;
}

/** The root of vTPMs (SPEC 1.1) with its key, and the voucher of the authority's root for it. */
export interface VtpmIssuer extends Issuer {
  /** DER. */
  readonly voucher: Uint8Array;
}

/** Makes an authority in a directory that is not there yet, or empty. Throws `authority-invalid`. */
export async function initAuthority(directory: string, options: AuthorityOptions): Promise<Authority> {
  if (!NAME.test(options.name)) throw invalid(`an authority's name has the form ${NAME.source}`);
  const target = resolve(directory);
  if (existsSync(target) && readdirSync(target).length > 0) throw invalid(`${directory} is not empty`);
  ensureDirectory(dirname(target), 0o755);
  const staging = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}`);
  mkdirSync(staging, { mode: 0o700 });
  try {
    await fill(staging, options);
    renameSync(staging, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return openAuthority(target, options);
}

/** Opens an authority's directory. Throws `authority-invalid`, `certificate-invalid`. */
export function openAuthority(directory: string, options: OpenOptions = {}): Authority {
  return new Authority(directory, options);
}

/** An open authority. */
export class Authority {
  readonly root: RootCertificate;
  readonly signer: PolicySigner;
  /** DER of the policy signer's certificate. */
  readonly signerCertificate: Uint8Array;
  readonly registry: Registry;
  readonly #directory: string;
  readonly #passphrase: string | undefined;

  constructor(directory: string, options: OpenOptions) {
    this.#directory = directory;
    this.#passphrase = options.passphrase;
    this.root = parseRootCertificate(this.#read(FILES.root));
    this.signerCertificate = certificateFromPem(this.#read(FILES.policySigner));
    this.signer = verifyPolicySignerCertificate(this.signerCertificate, this.root, new Date());
    this.registry = new Registry(join(directory, FILES.registry), { create: false });
  }

  close(): void {
    this.registry.close();
  }

  /** What a host needs for `tvmmp host init`: a JSON text, nothing in it is secret. */
  publicBundle(): string {
    return formatBundle(this.root.der, this.signerCertificate);
  }

  /** Hosts that are enrolled now. */
  hosts(): readonly Enrolment[] {
    return this.registry.enrolments();
  }

  /** Root certificate and key, for issuing. Throws `authority-invalid` where the passphrase is wrong or missing. */
  issuer(): Issuer {
    const privateKey = this.#readKey(FILES.rootKey, this.root.publicKey);
    return { certificate: this.root, privateKey };
  }

  /** Certificates of the root of vTPMs and of the voucher for it, in DER; null where this authority has none yet. Throws `certificate-invalid`. */
  vtpmRoot(): { readonly certificate: RootCertificate; readonly voucher: Uint8Array } | null {
    if (!existsSync(join(this.#directory, FILES.vtpmRoot))) return null;
    const voucher = certificateFromPem(this.#read(FILES.vtpmVoucher));
    const der = certificateFromPem(this.#read(FILES.vtpmRoot));
    return { ...verifyVtpmRoot(der, voucher, this.root, new Date()), voucher };
  }

  /**
   * Root of vTPMs and its key, for issuing; made where this authority, being older than they are, has none yet. Throws
   * `authority-invalid` where the passphrase is wrong or missing.
   */
  async vtpmIssuer(now: Date = new Date()): Promise<VtpmIssuer> {
    if (this.vtpmRoot() === null) {
      replaceFiles(await vtpmFiles(this.#directory, this.issuer(), this.#passphrase, now));
    }
    const found = this.vtpmRoot();
    if (found === null) throw invalid('the root of vTPMs vanished');
    return { ...found, privateKey: this.#readKey(FILES.vtpmKey, found.certificate.publicKey) };
  }

  /** The policy key, for signing. Throws `authority-invalid` where the passphrase is wrong or missing. */
  policyKeys(): PolicyKeys {
    const { publicKey } = this.signer;
    return { privateKey: this.#readKey(FILES.policyKey, publicKey), publicKey };
  }

  /** Validity of a host's certificates from now on: five years, or so many days. */
  hostValidity(now: Date, days?: number): Validity {
    const within = validity(now, HOST_YEARS, this.root);
    if (days === undefined) return within;
    const notAfter = new Date(now.getTime() + days * DAY_MS);
    notAfter.setUTCMilliseconds(0);
    return { notBefore: within.notBefore, notAfter: notAfter > within.notAfter ? within.notAfter : notAfter };
  }

  /**
   * Approves and signs an operator's policy (SPEC 10) and makes it the current one. Its version has to be above every
   * version that was signed for its id. Throws `policy-invalid`. Returns the envelope.
   */
  signPolicyText(text: string, now: Date = new Date()): string {
    const draft = parsePolicyText(text);
    const keys = this.policyKeys();
    const record = this.registry.recordPolicy(draft.id, (highest) => {
      if (draft.version <= highest) {
        const reason = draft.version === highest ? 'version-conflict' : 'rollback';
        throw policyError(
          reason,
          `version ${highest} of ${draft.id} was signed: the next one is ${highest + 1}`,
        );
      }
      const envelope = signPolicy(draft, now, keys);
      this.verifyPolicy(envelope, now);
      return { id: draft.id, version: draft.version, envelope, time: now.getTime() };
    });
    return record.envelope;
  }

  /** The envelope signed last, or null. */
  currentPolicy(): string | null {
    return this.registry.currentPolicy()?.envelope ?? null;
  }

  /** Verifies an envelope as a host of this authority would. */
  verifyPolicy(envelope: string, at: Date): Policy {
    return verifySignedPolicy(envelope, { root: this.root, signers: [this.signerCertificate], at });
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.#directory, name), 'utf8');
    } catch (cause) {
      throw invalid(`${this.#directory} is not an authority's directory: no ${name}`, cause);
    }
  }

  /** Reads a private key and checks that it is the one that was certified. */
  #readKey(name: string, publicKey: KeyObject): KeyObject {
    const key = parseKey(name, this.#read(name), this.#passphrase);
    if (!createPublicKey(key).equals(publicKey)) throw invalid(`${name} does not belong to its certificate`);
    return key;
  }
}

async function fill(directory: string, options: AuthorityOptions): Promise<void> {
  const now = options.now ?? new Date();
  const rootKeys = newKeyPair();
  const policyKeys = newKeyPair();
  const rootDer = await issueRoot(`${options.name} root`, rootKeys, validity(now, ROOT_YEARS));
  const root = parseRootCertificate(rootDer);
  const issuer = { certificate: root, privateKey: rootKeys.privateKey };
  const signerDer = await issuePolicySigner(
    issuer,
    `${options.name} policy`,
    policyKeys.publicKey,
    validity(now, POLICY_SIGNER_YEARS, root),
  );
  replaceFiles([
    { path: join(directory, FILES.rootKey), contents: keyPem(rootKeys, options.passphrase), mode: 0o600 },
    { path: join(directory, FILES.policyKey), contents: keyPem(policyKeys, options.passphrase), mode: 0o600 },
    { path: join(directory, FILES.root), contents: certificateToPem(rootDer), mode: 0o644 },
    { path: join(directory, FILES.policySigner), contents: certificateToPem(signerDer), mode: 0o644 },
    ...(await vtpmFiles(directory, issuer, options.passphrase, now)),
  ]);
  new Registry(join(directory, FILES.registry), { create: true }).close();
}

/** A new root of vTPMs: its key first, the root last, so that where the root is the rest is too. */
async function vtpmFiles(
  directory: string,
  issuer: Issuer,
  passphrase: string | undefined,
  now: Date,
): Promise<readonly NewFile[]> {
  const keys = newKeyPair();
  const within = validity(now, ROOT_YEARS, issuer.certificate);
  const root = await issueVtpmRoot(
    `TVMMP vTPM root of ${hex(issuer.certificate.digest).slice(0, 16)}`,
    keys,
    within,
  );
  const voucher = await issueVtpmRootVoucher(issuer, keys.publicKey, within);
  return [
    { path: join(directory, FILES.vtpmKey), contents: keyPem(keys, passphrase), mode: 0o600 },
    { path: join(directory, FILES.vtpmVoucher), contents: certificateToPem(voucher), mode: 0o644 },
    { path: join(directory, FILES.vtpmRoot), contents: certificateToPem(root), mode: 0o644 },
  ];
}

function newKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** PKCS #8, encrypted with AES-256-CBC under PBKDF2 where there is a passphrase. */
function keyPem({ privateKey }: KeyPair, passphrase: string | undefined): string {
  const encryption = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  return privateKey.export({ type: 'pkcs8', format: 'pem', ...encryption }).toString();
}

function parseKey(name: string, pem: string, passphrase: string | undefined): KeyObject {
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (cause) {
    throw invalid(
      `${name} cannot be read: is it encrypted with another passphrase, or with one at all?`,
      cause,
    );
  }
}

/** From a little before now, for some years, but not beyond what is above. Certificates count whole seconds. */
function validity(now: Date, years: number, within?: Validity): Validity {
  const notBefore = new Date(now.getTime() - CLOCK_SKEW_MS);
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(now.getUTCFullYear() + years);
  notBefore.setUTCMilliseconds(0);
  notAfter.setUTCMilliseconds(0);
  if (within === undefined) return { notBefore, notAfter };
  return {
    notBefore: notBefore < within.notBefore ? within.notBefore : notBefore,
    notAfter: notAfter > within.notAfter ? within.notAfter : notAfter,
  };
}

function invalid(message: string, cause?: unknown): TvmmpError {
  return new TvmmpError('authority-invalid', message, { cause });
}
