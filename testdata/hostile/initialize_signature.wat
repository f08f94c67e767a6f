;; An _initialize with a parameter.
;; @may-refuse invalid "_initialize"
;; @call good "it is nobody's start-up then" => output "it is nobody's start-up then"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func (export "_initialize") (param i32))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
