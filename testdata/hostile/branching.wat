;; Work without a loop: recursion that branches, 2^60 calls that are never deep.
;; @limits time=150ms
;; @call run => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func $both (param $n i32)
    (if (i32.eqz (local.get $n)) (then (return)))
    (call $both (i32.sub (local.get $n) (i32.const 1)))
    (call $both (i32.sub (local.get $n) (i32.const 1))))
  (func (export "run") (call $both (i32.const 60)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
