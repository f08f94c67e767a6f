;; An import of a host function of some other host.
;; @load invalid "extism:host/user f"
(module
  (import "extism:host/user" "f" (func))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
