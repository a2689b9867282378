// The function of the bench `start`: does nothing, or waits until its standard input ends.
#include <unistd.h>

int main(int argc, char** /*argv*/) {
  char byte = 0;
  while (argc > 1 && ::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
