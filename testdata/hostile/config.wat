;; Floods of config_get, var_get, error_get and http_headers, none of whose answers is freed.
;; @limits input=1MiB output=1MiB http_out=1MiB http_in=1MiB time=10s
;; @call configs "large" => limit "more than \d+ bytes of memory"
;; @call vars => limit "more than \d+ bytes of memory"
;; @call errors => limit "more than \d+ bytes of memory"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "error_get" (func $error_get (result i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (memory 1)
  (func (export "configs") (local $key i64)
    (local.set $key (call $input_offset))
    (loop (drop (call $config_get (local.get $key))) (br 0)))
  (func (export "vars") (local $name i64)
    (local.set $name (call $alloc (i64.const 4)))
    (call $var_set (local.get $name) (call $alloc (i64.const 65536)))
    (loop (drop (call $var_get (local.get $name))) (br 0)))
  (func (export "errors")
    (call $error_set (call $alloc (i64.const 65536)))
    (loop (drop (call $error_get)) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
