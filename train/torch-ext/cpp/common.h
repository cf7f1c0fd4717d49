// The end of every C function: 0, or 1 with *error set to a message that the caller frees with free().
#pragma once
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
