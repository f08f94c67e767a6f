;; An _initialize that ends the program.
;; @begin trap "its start-up: ended the program with code 3"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory 1)
  (func (export "_initialize") (call $proc_exit (i32.const 3)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
