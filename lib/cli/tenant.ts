import { X509Certificate, createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Command } from 'commander';
import { hex } from '../encoding/hex.ts';
import { limits } from '../limits.ts';
import { leaf, noun, positiveInteger } from './command.ts';
import type { CommonOptions } from './command.ts';
import { usageError } from './exit.ts';
import { emit, readText } from './files.ts';
import { fields, print, printJson, timeText } from './output.ts';

const PEM_BYTES_MAX = 64 * 1024;

/** `tvmmp tenant`: for who owns a VM; it needs no host and no authority. */
export function addTenant(program: Command): void {
  const tenant = noun(
    program,
    'tenant',
    'what the owner of a VM asks of the hosts that hold it',
    'A tenant policy is a condition over the attributes that the authority gives to hosts. The tenant signs it with an own key ' +
      '(ECDSA P-256), the VM is bound to it when it is protected, and tvmmp proof verify --tenant shows that every host agreed.',
  );
  addSign(tenant);
  addShow(tenant);
}

interface SignOptions extends CommonOptions {
  readonly key: string;
  readonly vm: string;
  readonly version: number;
  readonly condition: string;
  readonly forbidEscrow?: boolean;
  readonly output?: string;
}

function addSign(tenant: Command): void {
  leaf(tenant, {
    usage: 'sign',
    summary: "sign a tenant policy with the tenant's key",
    description:
      'The policy is about one VM. A later one replaces it where it is signed by the same key and has a higher version.',
    examples: [
      [
        `tvmmp tenant sign --key tenant-key.pem --vm 6b1a6f4e-0f1d-4c64-9d0a-3f5b8c1e2a77 --version 1 --condition 'region == "eu" and level >= 2' -o web.tenant.json`,
        'The key: openssl ecparam -name prime256v1 -genkey -noout -out tenant-key.pem',
      ],
    ],
  })
    .requiredOption('--key <file>', "the tenant's private key (PEM, P-256)")
    .requiredOption('--vm <uuid>', 'the VM that it is about')
    .requiredOption('--version <number>', 'above that of the policy it replaces', positiveInteger)
    .requiredOption('--condition <text>', 'condition over attributes of hosts')
    .option(
      '--forbid-escrow',
      "hosts keep no copy of the VM's key for the authority, whatever their policy says",
    )
    .option('-o, --output <file>', 'write it there instead of to standard output')
    .action(async ({ key, vm, version, condition, forbidEscrow, output }: SignOptions) => {
      const { signTenantPolicy, verifyTenantPolicy } = await import('../appraisal/tenant-policy.ts');
      const privateKey = keyFrom(key, createPrivateKey);
      const keys = { privateKey, publicKey: createPublicKey(privateKey) };
      const escrow = forbidEscrow === true ? { escrow: 'no' as const } : {};
      const text = signTenantPolicy({ vm, version, condition, issuedAt: new Date(), ...escrow }, keys);
      verifyTenantPolicy(text);
      emit(`${text}\n`, output);
    });
}

function addShow(tenant: Command): void {
  leaf(tenant, {
    usage: 'show <file>',
    summary: 'what is in a tenant policy',
    description:
      'Its signature is verified by the key that it names; compare the key with one that you know.',
    examples: [['tvmmp tenant show web.tenant.json', 'VM, version, condition, key.']],
  }).action(async (file: string, options: CommonOptions) => {
    const { verifyTenantPolicy } = await import('../appraisal/tenant-policy.ts');
    const policy = verifyTenantPolicy(readText(file, limits.policyEnvelopeBytesMax));
    const { vm, version, issuedAt, condition, keyDigest } = policy;
    if (options.json === true) printJson(policy);
    else
      print(
        ...fields([
          ['VM', vm],
          ['version', `${version}, issued ${timeText(issuedAt)}`],
          ['condition', condition],
          ['escrow', policy.escrow === 'no' ? 'forbidden' : 'as the policy of the hosts says'],
          ['key', hex(keyDigest)],
        ]),
      );
  });
}

/** The public key of a tenant out of a certificate or a public key in PEM. Throws `usage-invalid`. */
export function tenantKeyOf(file: string): KeyObject {
  return keyFrom(file, (pem) =>
    pem.includes('-----BEGIN CERTIFICATE-----') ? new X509Certificate(pem).publicKey : createPublicKey(pem),
  );
}

function keyFrom(file: string, read: (pem: string) => KeyObject): KeyObject {
  try {
    return read(readText(file, PEM_BYTES_MAX));
  } catch (cause) {
    throw usageError(`cannot use ${file}: ${(cause as Error).message}`, cause);
  }
}
