// libcurl's API for Swift: the header, and what its variable arguments and macros hide from the importer.
#pragma once
#include <curl/curl.h>
