;; Error bombs and confused ends: a huge error, an error and a trap, an error and an output, a code without an error.
;; @limits time=300ms
;; @call bomb => guest "^hostile/failure bomb: failed: "
;; @call then_trap => guest "failed: aaaaaaaa"
;; @call then_output => guest "failed: aaaaaaaa"
;; @call then_spin => time "ran longer than"
;; @call taken_back => output ""
;; @call code => guest "returned 7 and set no error"
;; @call minus => guest "returned -1 and set no error"
;; @call not_text => guest "failed: "
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (memory 1)
  (func $eight (result i64) (local $at i64)
    (local.set $at (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $at) (i64.const 0x6161616161616161))
    (local.get $at))
  (func (export "bomb") (call $error_set (call $alloc (i64.const 33554432))))
  (func (export "then_trap") (call $error_set (call $eight)) (unreachable))
  (func (export "then_output") (call $error_set (call $eight)) (call $output_set (call $eight) (i64.const 8)))
  (func (export "then_spin") (call $error_set (call $eight)) (loop (br 0)))
  (func (export "taken_back") (call $error_set (call $eight)) (call $error_set (i64.const 0)))
  (func (export "code") (result i32) (i32.const 7))
  (func (export "minus") (result i32) (i32.const -1))
  (func (export "not_text") (local $at i64)
    (local.set $at (call $eight))
    (call $store_u64 (local.get $at) (i64.const 0xfffefdfc1b0a0d00))
    (call $error_set (local.get $at)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
