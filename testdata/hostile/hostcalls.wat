;; Floods of host calls that take next to nothing each.
;; @limits time=150ms
;; @call lengths => time "ran longer than 150ms"
;; @call alloc_free => time "ran longer than 150ms"
;; @call bytes => time "ran longer than 150ms"
;; @call configs => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (memory 1)
  (func (export "lengths") (loop (drop (call $input_length)) (br 0)))
  (func (export "alloc_free") (loop (call $free (call $alloc (i64.const 4096))) (br 0)))
  (func (export "bytes") (local $at i64)
    (local.set $at (call $alloc (i64.const 1)))
    (loop (call $store_u8 (local.get $at) (call $load_u8 (local.get $at))) (br 0)))
  (func (export "configs") (local $at i64)
    (local.set $at (call $alloc (i64.const 1)))
    (loop (call $free (call $config_get (local.get $at))) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
