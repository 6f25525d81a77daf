//! All benchmarks in one executable; the library's documentation explains how to run and read them.

mod decode;
mod encode;
mod event;
mod fanout;
mod live;
mod mask;
mod store;
mod timer;
mod turn;
mod utf8;

fn main() {
    let mut criterion = weir_benches::criterion();
    decode::all(&mut criterion);
    mask::all(&mut criterion);
    utf8::all(&mut criterion);
    encode::all(&mut criterion);
    event::all(&mut criterion);
    store::all(&mut criterion);
    live::all(&mut criterion);
    timer::all(&mut criterion);
    turn::all(&mut criterion);
    fanout::all(&mut criterion);
    criterion.final_summary();
}
