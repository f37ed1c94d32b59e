// What Databus uses of OpenSSL's libcrypto.
#pragma once
// The SHA256_CTX functions are marked deprecated in favour of EVP. They are used on purpose: the
// context is a plain value that can be copied, so the part of an id that a whole batch shares is
// hashed once, and there is no provider look-up per hash.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
