// How the fake programs tell the test what happens to them: lines by datagram to a socket of the test.
#pragma once

#include <string>

namespace millrace::test {

// From an argument "--report=PATH".
void report_to(int argc, char** argv);

// Sends "<pid> <text>".
void report(const std::string& text);

// One message with at most one descriptor (-1: none); empty at the end of file.
struct Received {
  std::string bytes;
  int fd = -1;
};
Received receive(int socket);

// The text after "--<name>=" among the arguments, or empty.
std::string argument(int argc, char** argv, const std::string& name);

}  // namespace millrace::test
