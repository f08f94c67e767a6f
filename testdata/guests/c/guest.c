// A guest without a PDK and without a C library: the Extism ABI as it is.
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("alloc") uint64_t ext_alloc(uint64_t n);
IMPORT("free") void ext_free(uint64_t at);
IMPORT("length") uint64_t ext_length(uint64_t at);
IMPORT("load_u8") uint32_t ext_load_u8(uint64_t at);
IMPORT("store_u8") void ext_store_u8(uint64_t at, uint32_t v);
IMPORT("load_u64") uint64_t ext_load_u64(uint64_t at);
IMPORT("store_u64") void ext_store_u64(uint64_t at, uint64_t v);
IMPORT("input_length") uint64_t ext_input_length(void);
IMPORT("input_offset") uint64_t ext_input_offset(void);
IMPORT("input_load_u8") uint32_t ext_input_load_u8(uint64_t at);
IMPORT("output_set") void ext_output_set(uint64_t at, uint64_t n);
IMPORT("error_set") void ext_error_set(uint64_t at);
IMPORT("config_get") uint64_t ext_config_get(uint64_t key);
IMPORT("var_get") uint64_t ext_var_get(uint64_t key);
IMPORT("var_set") void ext_var_set(uint64_t key, uint64_t value);
IMPORT("http_request") uint64_t ext_http_request(uint64_t request, uint64_t body);
IMPORT("http_status_code") int32_t ext_http_status_code(void);
IMPORT("log_debug") void ext_log_debug(uint64_t at);
IMPORT("log_info") void ext_log_info(uint64_t at);
IMPORT("log_warn") void ext_log_warn(uint64_t at);
IMPORT("log_error") void ext_log_error(uint64_t at);

// A text that is put together in the host's memory; of a capacity that the caller knows is enough.
typedef struct { uint64_t at, n; } text;

static text begin(uint64_t capacity) { return (text){ext_alloc(capacity + 1), 0}; }
static void put(text *t, uint32_t c) { ext_store_u8(t->at + t->n++, c); }
static void put_string(text *t, const char *s) { while (*s) put(t, (unsigned char)*s++); }
static void put_block(text *t, uint64_t at) {
  uint64_t n = ext_length(at);
  for (uint64_t i = 0; i < n; i++) put(t, ext_load_u8(at + i));
}
static void put_number(text *t, uint32_t v) {
  if (v >= 10) put_number(t, v / 10);
  put(t, '0' + v % 10);
}
// block is the text in a block of exactly its length.
static uint64_t block(text t) {
  uint64_t at = ext_alloc(t.n);
  for (uint64_t i = 0; i < t.n; i++) ext_store_u8(at + i, ext_load_u8(t.at + i));
  ext_free(t.at);
  return at;
}
static uint64_t literal(const char *s) {
  text t = begin(100);
  put_string(&t, s);
  return block(t);
}
static void output(text t) { ext_output_set(t.at, t.n); }

EXPORT("echo") int32_t echo(void) {
  ext_output_set(ext_input_offset(), ext_input_length());
  return 0;
}

EXPORT("shout") int32_t shout(void) {
  uint64_t n = ext_input_length();
  text t = begin(n);
  for (uint64_t i = 0; i < n; i++) {
    uint32_t c = ext_input_load_u8(i);
    put(&t, c >= 'a' && c <= 'z' ? c - 32 : c);
  }
  output(t);
  return 0;
}

EXPORT("config") int32_t config(void) {
  uint64_t value = ext_config_get(ext_input_offset());
  if (!value) {
    ext_error_set(literal("there is no such key"));
    return 1;
  }
  ext_output_set(value, ext_length(value));
  return 0;
}

EXPORT("vars") int32_t vars(void) {
  uint64_t old = ext_var_get(literal("kept")); // a host may free a name that it was given
  text t = begin(ext_length(old) + ext_input_length() + 1);
  if (old) put_block(&t, old);
  put(&t, '+');
  put_block(&t, ext_input_offset());
  ext_var_set(literal("kept"), block(t));
  uint64_t now = ext_var_get(literal("kept"));
  ext_output_set(now, ext_length(now));
  return 0;
}

// copy is the input in a block of its own: a host may free what it logs.
static uint64_t copy(void) {
  text t = begin(ext_input_length());
  for (uint64_t i = 0; i < ext_input_length(); i++) put(&t, ext_input_load_u8(i));
  return block(t);
}

EXPORT("log") int32_t log_lines(void) {
  ext_log_debug(copy());
  ext_log_info(copy());
  ext_log_warn(copy());
  ext_log_error(copy());
  return echo();
}

EXPORT("http") int32_t http(void) {
  text t = begin(200 + ext_input_length());
  put_string(&t, "{\"url\":\"");
  put_block(&t, ext_input_offset());
  put_string(&t, "\",\"method\":\"POST\",\"headers\":{\"x-guest\":\"c\",\"content-type\":\"text/plain\"}}");
  uint64_t answer = ext_http_request(block(t), literal("hello from the guest"));
  uint32_t status = ext_http_status_code();
  text out = begin(ext_length(answer) + 16);
  put_number(&out, status);
  put(&out, ' ');
  if (answer) put_block(&out, answer);
  output(out);
  return 0;
}

EXPORT("fail") int32_t fail(void) {
  text t = begin(ext_input_length() + 100);
  put_string(&t, "it failed: ");
  put_block(&t, ext_input_offset());
  ext_error_set(block(t));
  return 1;
}

EXPORT("panic") int32_t panic(void) { __builtin_trap(); }
