;; Indirect calls in a ring: without an end, and bounded in depth but branching.
;; @limits time=1s
;; @call endless => trap "stack overflow"
;; @call branching => time "ran longer than 1s"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (type $f (func (param i32)))
  (table 4 4 funcref)
  (elem (i32.const 0) $next $next $next $both)
  (func $next (type $f) (call_indirect (type $f) (local.get 0) (i32.rem_u (i32.add (local.get 0) (i32.const 1)) (i32.const 3))))
  (func $both (type $f)
    (if (i32.eqz (local.get 0)) (then (return)))
    (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 3))
    (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 3)))
  (func (export "endless") (call $next (i32.const 0)))
  (func (export "branching") (call $both (i32.const 60)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
