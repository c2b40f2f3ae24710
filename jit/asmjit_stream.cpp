#include <cstdio>

// Where the copy of asmjit inside a shared library writes its assertions; see cmake/SkepAsmjit.cmake.
extern "C" {
extern FILE* skep_asmjit_stderr;
__attribute__((visibility("hidden"))) FILE* skep_asmjit_stderr = stderr;
}
