;; Tail calls: they spin with neither a loop nor a stack that grows.
;; @limits time=150ms
;; @may-refuse invalid "tail|feature"
;; @call run => time "ran longer than 150ms"
;; @call indirect => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (type $f (func))
  (table 1 funcref)
  (elem (i32.const 0) $turn)
  (func $run (export "run") (return_call $run))
  (func $turn (export "indirect") (return_call_indirect (type $f) (i32.const 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
