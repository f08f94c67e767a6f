;; Recursion without an end: small frames, large frames, and two functions that call each other.
;; @call small => trap "stack overflow"
;; @call large => trap "stack overflow"
;; @call mutual => trap "stack overflow"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func $small (export "small") (call $small))
  (func $wide (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (i64.add (local.get 0) (call $wide (local.get 11) (local.get 10) (local.get 9) (local.get 8) (local.get 7) (local.get 6)
      (local.get 5) (local.get 4) (local.get 3) (local.get 2) (local.get 1) (local.get 0))))
  (func (export "large") (drop (call $wide (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5)
    (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11))))
  (func $there (export "mutual") (call $back))
  (func $back (call $there))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
