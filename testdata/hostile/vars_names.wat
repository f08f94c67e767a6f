;; Many vars whose names are large and whose values are one byte: names are kept too.
;; @limits vars=1MiB time=5s
;; @call names => limit "more than 1048576 bytes in vars"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (memory 1)
  (func (export "names") (local $name i64) (local $value i64) (local $n i32)
    (local.set $name (call $alloc (i64.const 8192)))
    (local.set $value (call $alloc (i64.const 1)))
    (local.set $n (i32.const 1000))
    (loop
      (call $store_u64 (local.get $name) (i64.extend_i32_u (local.get $n)))
      (call $var_set (local.get $name) (local.get $value))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
