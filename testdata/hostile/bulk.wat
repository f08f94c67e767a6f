;; Much work in few instructions: memory.fill, memory.copy, memory.init and table.copy over all there is, again and again.
;; @limits time=150ms memory=16MiB
;; @call fill => time "ran longer than 150ms"
;; @call copy => time "ran longer than 150ms"
;; @call table_copy => time "ran longer than 150ms"
;; @call fill_once => output ""
;; @call beyond => trap "out of bounds memory access"
;; @call overflowing => trap "out of bounds memory access"
;; @call fill_unrolled => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 128 128)
  (table 1000 1000 funcref)
  (func (export "fill") (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 8388608)) (br 0)))
  (func (export "fill_once") (memory.fill (i32.const 0) (i32.const 1) (i32.const 8388608)))
  (func (export "copy") (loop (memory.copy (i32.const 1) (i32.const 0) (i32.const 8388607)) (br 0)))
  (func $eight
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 8388608)) (memory.fill (i32.const 0) (i32.const 2) (i32.const 8388608))
    (memory.fill (i32.const 0) (i32.const 3) (i32.const 8388608)) (memory.fill (i32.const 0) (i32.const 4) (i32.const 8388608))
    (memory.fill (i32.const 0) (i32.const 5) (i32.const 8388608)) (memory.fill (i32.const 0) (i32.const 6) (i32.const 8388608))
    (memory.fill (i32.const 0) (i32.const 7) (i32.const 8388608)) (memory.fill (i32.const 0) (i32.const 8) (i32.const 8388608)))
  (func $sixtyfour (call $eight) (call $eight) (call $eight) (call $eight) (call $eight) (call $eight) (call $eight) (call $eight))
  (func $many (param i32) ;; without a loop
    (if (i32.eqz (local.get 0)) (then (call $sixtyfour) (return)))
    (call $many (i32.sub (local.get 0) (i32.const 1))) (call $many (i32.sub (local.get 0) (i32.const 1))))
  (func (export "fill_unrolled") (call $many (i32.const 40)))
  (func (export "table_copy") (loop (table.copy (i32.const 0) (i32.const 1) (i32.const 999)) (br 0)))
  (func (export "beyond") (memory.fill (i32.const 8388600) (i32.const 1) (i32.const 9)))
  (func (export "overflowing") (memory.copy (i32.const 16) (i32.const 0xffffff00) (i32.const 0x200)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)
