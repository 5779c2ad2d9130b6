mod order;
mod threads;
