;; Output bombs: lengths beyond the limit, beyond the block, beyond 64 bits; output again and again.
;; @limits output=1MiB time=300ms
;; @call claimed => limit "output of 1099511627776 bytes; the limit is 1048576"
;; @call real => limit "output of 2097152 bytes; the limit is 1048576"
;; @call beyond_block => trap "reach beyond their block"
;; @call overflowing => limit "output of 18446744073709551615 bytes"
;; @call nowhere => trap "offset 0 is in no block"
;; @call flood => time "ran longer than 300ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (memory 1)
  (func (export "claimed") (call $output_set (call $alloc (i64.const 8)) (i64.const 1099511627776)))
  (func (export "real") (call $output_set (call $alloc (i64.const 2097152)) (i64.const 2097152)))
  (func (export "beyond_block") (call $output_set (call $alloc (i64.const 8)) (i64.const 9)))
  (func (export "overflowing") (call $output_set (call $alloc (i64.const 8)) (i64.const -1)))
  (func (export "nowhere") (call $output_set (i64.const 0) (i64.const 8)))
  (func (export "flood") (local $at i64)
    (local.set $at (call $alloc (i64.const 1048576)))
    (loop (call $output_set (local.get $at) (i64.const 1048576)) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
