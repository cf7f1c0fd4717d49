#pragma once
// Plain C functions; each one that can fail returns 0, or 1 with *error set to a message that the caller frees with free().
#include <cstring>
#include <exception>

#define TRY(error, ...)                       \
  try {                                       \
    __VA_ARGS__;                              \
    return 0;                                 \
  } catch (const std::exception& e) {         \
    *(error) = strdup(e.what());              \
    return 1;                                 \
  } catch (...) {                             \
    *(error) = strdup("an exception of an unknown C++ type"); \
    return 1;                                 \
  }
