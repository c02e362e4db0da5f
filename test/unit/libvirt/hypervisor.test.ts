import { connectHypervisor } from '../../../lib/libvirt/connect.ts';
import { describeHypervisorConformance, describeMigrationConformance } from '../../conformance/libvirt.ts';

describeHypervisorConformance('libvirt over FFI', (uri) => connectHypervisor(uri));
describeMigrationConformance('libvirt over FFI and the addon', (uri) => connectHypervisor(uri));
