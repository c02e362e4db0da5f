// In the place of native/child-process.cc: a swtpm that answers what a script says, to whatever it is asked.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tvmmp::fuzz {

// What each child, one after another, takes of: its exit code (1), length (2) and bytes for the control channel, the same for the data
// channel. A script that has ended gives nothing.
void SetScript(const uint8_t* data, size_t size);

}  // namespace tvmmp::fuzz
