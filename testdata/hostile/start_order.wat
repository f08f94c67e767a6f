;; A start function that moves and changes what the data segments put into memory: they come first.
;; @call run => output "first, then changed"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (memory 1)
  (data (i32.const 0) "first, ")
  (data (i32.const 7) "now changed?")
  (start $start)
  (func $start
    (memory.copy (i32.const 100) (i32.const 0) (i32.const 19))
    (i32.store (i32.const 107) (i32.const 0x6e656874)) (i32.store8 (i32.const 111) (i32.const 32))
    (memory.copy (i32.const 112) (i32.const 11) (i32.const 7))
    (i32.store (i32.const 0) (i32.const 0)))
  (func (export "run") (local $at i64) (local $i i32)
    (if (i32.load (i32.const 0)) (then (unreachable)))
    (local.set $at (call $alloc (i64.const 19)))
    (loop
      (call $store_u8 (i64.add (local.get $at) (i64.extend_i32_u (local.get $i))) (i32.load8_u offset=100 (local.get $i)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 19))))
    (call $output_set (local.get $at) (i64.const 19)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
