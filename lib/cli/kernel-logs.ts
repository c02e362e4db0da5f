/** Where the kernel shows what was measured: securityfs. */
export const SECURITY_FS = '/sys/kernel/security';
