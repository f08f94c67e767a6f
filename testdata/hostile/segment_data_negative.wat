;; A data segment at the end of the 32-bit space.
;; @begin invalid|trap "out of bounds memory access|data"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (data (i32.const -4) "0123456789")
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
