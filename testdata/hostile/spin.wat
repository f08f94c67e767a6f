;; Never comes back: loops of every form, with nothing in them or with work.
;; @limits time=150ms
;; @call empty => time "ran longer than 150ms"
;; @call counting => time "ran longer than 150ms"
;; @call conditional => time "ran longer than 150ms"
;; @call by_table => time "ran longer than 150ms"
;; @call inner => time "ran longer than 150ms"
;; @call with_result => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (global $n (mut i64) (i64.const 0))
  (func (export "empty") (loop (br 0)))
  (func (export "counting") (local i64)
    (loop (local.set 0 (i64.add (local.get 0) (i64.const 1))) (global.set $n (local.get 0)) (br 0)))
  (func (export "conditional") (loop (br_if 0 (i32.const 1))))
  (func (export "by_table") (loop (br_table 0 0 0 (i32.const 2))))
  (func (export "inner") (loop (block (loop (br 1)) (br 0)) (br 0)))
  (func (export "with_result") (drop (loop (result i32) (br 0))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
