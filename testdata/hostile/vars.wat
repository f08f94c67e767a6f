;; Floods of vars: one large value, many values, many names, a name that is large, the same one again and again.
;; @limits vars=1MiB time=5s
;; @call one => limit "more than 1048576 bytes in vars"
;; @call many => limit "more than 1048576 bytes in vars"
;; @call large_name => limit "more than 1048576 bytes in vars"
;; @call same => output ""
;; @call set_and_unset => output ""
;; @call no_name => output ""
;; @call no_value => trap "offset 77 is not that of a block"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (memory 1)
  (func $set (param $n i32) (param $names i64) (param $size i64) (param $same i32) (local $name i64) (local $value i64)
    (local.set $name (call $alloc (local.get $names)))
    (local.set $value (call $alloc (local.get $size)))
    (loop
      (if (i32.eqz (local.get $same)) (then (call $store_u64 (local.get $name) (i64.extend_i32_u (local.get $n)))))
      (call $var_set (local.get $name) (local.get $value))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "one") (call $set (i32.const 1) (i64.const 8) (i64.const 2097152) (i32.const 1)))
  (func (export "many") (call $set (i32.const 2000) (i64.const 8) (i64.const 1024) (i32.const 0)))
  (func (export "large_name") (call $set (i32.const 1) (i64.const 2097152) (i64.const 1) (i32.const 1)))
  (func (export "same") (call $set (i32.const 2000) (i64.const 8) (i64.const 65536) (i32.const 1)))
  (func (export "set_and_unset") (local $name i64) (local $value i64) (local $n i32)
    (local.set $name (call $alloc (i64.const 8)))
    (local.set $value (call $alloc (i64.const 524288)))
    (local.set $n (i32.const 100))
    (loop
      (call $store_u64 (local.get $name) (i64.extend_i32_u (local.get $n)))
      (call $var_set (local.get $name) (local.get $value))
      (call $var_set (local.get $name) (i64.const 0))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "no_name") (call $var_set (i64.const 0) (call $alloc (i64.const 8))))
  (func (export "no_value") (call $var_set (call $alloc (i64.const 8)) (i64.const 77)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
